"""Looks at the machine; decides nothing and changes nothing."""
