"""What is wrong with broker, store, Ray, devices and model, and how to mend it."""
