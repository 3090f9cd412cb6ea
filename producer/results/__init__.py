"""What came of it: files, zips, reports, contact sheets."""
