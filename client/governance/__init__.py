"""What a hospital decides and can prove: policy, consent, keys, pins, withdrawals, audit log."""
