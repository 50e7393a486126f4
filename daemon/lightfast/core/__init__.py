"""The words of the daemon: errors, ids, clock, tasks, log, metrics, the OSC codec."""
