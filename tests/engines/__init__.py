"""Three engines fire the timers of thousands of cases while one is killed, one freezes, and the
clock jumps."""
