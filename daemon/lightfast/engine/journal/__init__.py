"""The journal room: records whole sessions to files, replays them, and compares a replay with what was recorded."""
