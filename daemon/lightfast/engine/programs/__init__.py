"""Programs: typed instructions, their text forms, what is wrong with them, and how they get smaller."""
