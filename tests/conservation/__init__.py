"""Conservation: whatever is killed, every event is somewhere once and every case is owned."""
