"""The soak test: mixed traffic with faults for a long time, and every answer looked at."""
