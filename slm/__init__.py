"""The import paths that Avatar SLM documents; what is behind them is in `rolecast.avatars.documented`."""
