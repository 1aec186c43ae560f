// One way to optimize the model at hand.
