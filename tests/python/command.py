"""Running the `blade` command that stands beside this Python."""
import shutil
import subprocess
import sysconfig


def blade_command():
    found = shutil.which("blade", path=sysconfig.get_path("scripts")) or shutil.which("blade")
    assert found, "the blade command is not installed beside this Python"
    return found


def run(*arguments, code=0):
    done = subprocess.run([blade_command(), *map(str, arguments)], capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stderr
    return done
