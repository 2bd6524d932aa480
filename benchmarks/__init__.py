"""What the gateway costs: a transfer of full size, and a comparison with other gateways."""
