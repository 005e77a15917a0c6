"""What Python users call, a module a noun: run a suite, evaluate one model, audit either, bundle and verify what is behind
a leaderboard, compare rows, load a trained model. `robuststack` names all of it."""
