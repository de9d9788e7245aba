"""From a scanner's export to a data set in BIDS: found, recognised, stripped, registered, without names."""
