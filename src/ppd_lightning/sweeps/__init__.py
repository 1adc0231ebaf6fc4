"""Many runs: started through Hydra's launchers, watched, started again where they died, compared."""
