"""Who is who: canonical bytes to sign, and the identities that sign them."""
