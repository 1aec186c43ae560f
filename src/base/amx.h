// Permission to use AMX tile registers, which Linux gives to a process only on request.
#pragma once

namespace blade {

// Asks once and remembers the answer, for all threads of the process. False where the system knows no such permission
// or refuses it. Says nothing about the processor.
bool amx_permitted();

}  // namespace blade
