"""What is known good and what was answered before. The store keeps it; the rules live here."""
