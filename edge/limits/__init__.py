"""Decides when the device does less to stay within heat, current and memory, and when it does more again."""
