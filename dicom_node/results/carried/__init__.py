"""What a result carries over from its slide: orders, equipment, dates, specimens."""
