"""Images for the tests, built without a registry from `images/*/Containerfile`."""
