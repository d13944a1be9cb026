"""What arrived, what became of it, where it was delivered."""
