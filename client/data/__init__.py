"""What a hospital's data are: layouts and names of files, one image's checks and its preparation."""
