"""Each provider's dialect, through the whole gateway, in front of its stand-in."""
