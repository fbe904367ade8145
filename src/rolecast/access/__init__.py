"""Who may ask what, how much and for how much: keys with rights, rates, budgets."""
