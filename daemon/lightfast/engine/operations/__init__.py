"""The operations that programs are made of."""
