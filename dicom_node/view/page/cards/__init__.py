"""Cards of a page that stand beside its statement."""
