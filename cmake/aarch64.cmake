# Compiles for Arm's 64-bit CPUs with Debian's cross-compiler and the libraries that tools/test_arm64
# has fetched; what is built runs under qemu-user, as the CPU that the variable QEMU_CPU names.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L /usr/aarch64-linux-gnu)
set(libraries ${CMAKE_CURRENT_LIST_DIR}/../build/arm64-packages/root)
set(CMAKE_PREFIX_PATH ${libraries}/usr)
set(ENV{PKG_CONFIG_LIBDIR} ${libraries}/usr/lib/aarch64-linux-gnu/pkgconfig)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${libraries})
