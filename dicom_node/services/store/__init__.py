"""Storage as SCP (PS3.4 Annex B): an instance arrives, is kept, and is answered truly."""
