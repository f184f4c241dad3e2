import com.pixelmed.validate.DicomSRValidator;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;

/**
 * PixelMed's validator of structured reports over many files: its own command takes one, and compiles its rules anew
 * for each. Prints "== FILE" and what the validator says of it.
 */
public class SrValidators {
    private static final ThreadLocal<DicomSRValidator> VALIDATOR = ThreadLocal.withInitial(SrValidators::strict);

    public static void main(String[] files) throws InterruptedException {
        ExecutorService threads = Executors.newFixedThreadPool(Math.min(2, Runtime.getRuntime().availableProcessors()));
        for (String file : files) {
            threads.submit(() -> validate(file));
        }
        threads.shutdown();
        threads.awaitTermination(1, TimeUnit.HOURS);
    }

    private static DicomSRValidator strict() {
        try {
            DicomSRValidator validator = new DicomSRValidator();
            validator.setOptionCheckTemplateID(true);
            validator.setOptionCheckContentItemOrder(true);
            return validator;
        } catch (Exception error) {
            throw new IllegalStateException(error);
        }
    }

    private static void validate(String file) {
        String said;
        try {
            said = VALIDATOR.get().validate(file);
        } catch (Throwable error) { // also a stack or a heap that is too small: no verdict is no "valid"
            said = "Error: " + error;
        }
        synchronized (System.out) {
            System.out.println("== " + file + "\n" + said);
        }
    }
}
