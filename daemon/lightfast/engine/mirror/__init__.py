"""The second of two writes: tasks, projects and workspaces as JSON files, beside the database."""
