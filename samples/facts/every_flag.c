/* Every call on memory with a flag that calls respect: kinds 12 to 18. */
#define FIRST 12
#define LAST 18
#include "every.h"
