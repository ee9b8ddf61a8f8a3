"""The main job end to end, as a newcomer runs it: ``mien demo``. It only starts ``mien`` commands and talks HTTP."""
