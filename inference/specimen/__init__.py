"""What a slide says of its organ, in codes or in words; never a guess."""
