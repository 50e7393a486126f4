"""What happened in the engine, in one durable order."""
