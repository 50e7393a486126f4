"""`lightfast mcp`: a few tools for any MCP client, in a process of its own, with a token that approves nothing."""
