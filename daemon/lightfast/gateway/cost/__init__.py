"""Prices, estimates, budgets and the ledger."""
