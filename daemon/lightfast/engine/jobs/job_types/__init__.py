"""The types of jobs that Lightfast brings: workflow_execute, task_create, memory_sync."""
