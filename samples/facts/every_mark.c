/* Every call on memory that is not to be forked, guarded or made read-only: kinds 16 to 18. */
#define FIRST 16
#define LAST 18
#include "every.h"
