"""Clients of the gateway that nobody here wrote: their pins, how they are installed, what they are told to do."""
