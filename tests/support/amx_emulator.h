// Executes AMX instructions on processors without AMX, so that the machine code of the kernels is tested on any x86-64
// machine with AVX-512: a handler of SIGILL decodes and executes them one by one.
#pragma once

namespace blade {

enum class AmxMode {
  kNative,    // the processor has AMX for bfloat16 and the system permits it
  kEmulated,  // by the handler, which is installed now for the rest of the process
  kMissing,   // neither: the kernels' other instructions (AVX-512 with AVX512-BF16) are missing
};

// How AMX instructions run in this process; the first call prepares it.
AmxMode amx_mode();
const char* describe_amx(AmxMode mode);

// Installs the handler wherever the processor is x86-64 without AMX, for tests of the handler itself; false elsewhere.
bool install_amx_emulator();

}  // namespace blade
