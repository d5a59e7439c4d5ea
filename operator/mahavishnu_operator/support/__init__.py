"""Small things every layer may use: errors, clocks, logging. Depends on nothing of ours."""
