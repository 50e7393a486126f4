"""One timeline that leads or follows the applications."""
