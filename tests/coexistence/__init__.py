"""The blueprint beside the extensions that a Flask service is likely to have."""
