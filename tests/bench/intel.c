/* Lets PyTorch use the whole of an AMD processor, when loaded before it (LD_PRELOAD).
 *
 * MKL, which computes PyTorch's float32 matrix products, asks these two functions whether it runs on an Intel processor, and takes
 * its AVX-512 kernels only then; on an AMD one with the same instructions its products run at about half the rate. The answer is
 * given here instead: a comparison with PyTorch held back like that would be unfair to it.
 */

int mkl_serv_intel_cpu(void) { return 1; }

int mkl_serv_intel_cpu_true(void) { return 1; }
