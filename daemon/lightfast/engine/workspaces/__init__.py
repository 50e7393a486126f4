"""Workspaces, projects and tasks."""
