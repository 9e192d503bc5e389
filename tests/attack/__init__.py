"""Attacks on a running gateway, over HTTP only: what it answers, and what reaches the application."""
