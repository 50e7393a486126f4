"""`lightfast import`: folders of JSON tasks, contexts and workspaces and of YAML workflows, taken in."""
