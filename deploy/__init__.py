"""How seedsweep is deployed and watched."""
