/* Every call on memory with a flag that calls respect: kinds 12 to 15. */
#define FIRST 12
#define LAST 15
#include "every.h"
