"""What a test has the stand-in's commands do instead: ``$PBS_STANDIN/hooks/COMMAND``.

A hook is a shell script, which gets the command's arguments. If it ends with 0, the command goes
on; with 99, it has said all there is to say and the command ends well; else the command ends with
that exit code.
"""

import os
import subprocess
import sys
from pathlib import Path

SAID_ALL = 99


def heed(command: str) -> None:
    """Do what the hook of a command says."""
    hook = Path(os.environ["PBS_STANDIN"]) / "hooks" / command
    if not hook.exists():
        return
    code = subprocess.run(["bash", hook, *sys.argv[1:]], check=False).returncode
    if code:
        sys.exit(0 if code == SAID_ALL else code)
