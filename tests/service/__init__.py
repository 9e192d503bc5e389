"""The service: against issuers that behave, and issuers that do not."""
