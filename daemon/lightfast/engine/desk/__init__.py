"""The front desk: answers at once, in a coded language."""
